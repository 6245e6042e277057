"""The verbs of the command line: arguments, and the function of the API that each calls."""
