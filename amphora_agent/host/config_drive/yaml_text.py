"""The one door to PyYAML: a YAML text as mappings, lists and texts. Never makes an object of another type.

Decision: PyYAML, from the extra `image`, and not a parser of our own for the few forms that the controller's template
has: operators change that template, and a file read wrongly is worse than 0.1 s of an import. No process that goes on
running has it in memory: the reader ends, and imports it only when there is user data.
"""

from __future__ import annotations

from amphora_agent.errors import InvalidRequest


def load_yaml(text: str) -> object:
    """Return the document, every scalar as the text that stands there.

    Raises:
        InvalidRequest: it is no YAML; the detail has line and column and nothing of the text.
    """
    import yaml  # noqa: PLC0415 - only when there is user data

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        document: object = yaml.load(text, loader)  # noqa: S506 - the base loaders make texts, lists and mappings only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise InvalidRequest("cannot read the user data", f"it is no YAML: {place}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidRequest("cannot read the user data", f"it is no YAML: {type(error).__name__}") from error
    return document
