"""What a run needs before it starts: estimated, or compiled for machines that are not there."""
