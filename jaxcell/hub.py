"""Checkpoints by their address on the Hugging Face Hub: hf://ORG/NAME or hf://ORG/NAME@REVISION.

``huggingface_hub`` fetches and caches; it is imported when such an address is met, and not before.
"""

import contextlib
import re
from pathlib import Path

# Path('hf://a/b') has lost a slash.
ADDRESS = re.compile(r"hf:/{1,2}(?P<name>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")
WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
COMMIT = re.compile(r"[0-9a-f]{40}")
# Other frameworks' copies of the same weights, and what their trainers leave behind.
NOT_OURS = ("*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.ot", "*optimizer*", "training_args.bin")


def is_address(path):
    """Whether a checkpoint is named by its place on the Hub."""
    return bool(re.match(r"hf:|https?:/{1,2}(www\.)?huggingface\.co/", str(path), re.I))


def fetch(address):
    """The folder of a repository on the Hub, in huggingface_hub's cache; fetched if need be.

    Parameters
    ----------
    address : 'hf://ORG/NAME' (its main branch) or 'hf://ORG/NAME@REVISION' (branch, tag or commit).
        Without a connection what is in the cache is taken

    Returns
    -------
    Path : a folder whose name is the commit

    Raises
    ------
    ValueError
        No such address, repository or revision; not allowed; or neither connection nor cache.
    ImportError
        huggingface_hub is not installed.
    """
    found = ADDRESS.fullmatch(str(address))
    if not found:
        raise ValueError(
            f"{address}: is no address on the Hub; expected hf://ORG/NAME or hf://ORG/NAME@REVISION"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"{address}: the Hub is reached by huggingface_hub: pip install 'jaxcell[hub]'"
        ) from error
    name, revision = found["name"], found["revision"]
    get = dict(repo_id=name, revision=revision, ignore_patterns=list(NOT_OURS))
    if revision and COMMIT.fullmatch(revision):  # never changes: nobody needs to be asked
        with contextlib.suppress(OSError):
            folder = Path(snapshot_download(**get, local_files_only=True))
            if any(p.suffix in WEIGHTS for p in folder.iterdir()):  # else a download was cut off
                return folder
    try:
        return Path(snapshot_download(**get))
    except Exception as error:
        raise ValueError(f"{address}: {_why(error, name, revision)}") from error


def _why(error, name, revision):
    """What went wrong at the Hub, and what can be done about it."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        return f"its owners give access on request: https://huggingface.co/{name}, hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such repository, or it is private: hf auth login"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no revision {revision!r}"
    if isinstance(error, errors.LocalEntryNotFoundError):
        at = f" --revision {revision}" if revision else ""
        said = str(error).partition("\n")[0]
        return (
            f"the Hub cannot be reached ({said}) and {constants.HF_HUB_CACHE} has no copy. Where "
            f"there is a connection: hf download {name}{at} --local-dir FOLDER; copy FOLDER here, "
            "and name it instead"
        )
    return f"could not be fetched ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
