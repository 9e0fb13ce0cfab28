"""User data of a config drive: which of cloud-init's formats it is in. Never reads another one than `#cloud-config`.

Decision: one format, whole or not at all. What the controller sends is plain `#cloud-config`; other formats can carry
programs and includes that this reader would have to leave out, and an amphora that was configured by half looks like
one that works. They are refused in words that an operator reads on the console.
"""

from __future__ import annotations

from amphora_agent.errors import InvalidRequest

_GZIP = b"\x1f\x8b"
_OTHER_FORMATS = {
    "content-type:": "a multipart message",
    "mime-version:": "a multipart message",
    "from ": "a multipart message",
    "#!": "a script",
    "#include": "a list of addresses",
    "#cloud-boothook": "a boot hook",
    "#cloud-config-archive": "an archive of cloud-configs",
    "#cloud-config-jsonp": "a JSON patch",
    "#part-handler": "a part handler",
    "## template:": "a template",
}
_SUPPORTED = "only plain #cloud-config is read"


def cloud_config_text(data: bytes) -> str | None:
    """Return the YAML text of a cloud-config, None when there is no user data.

    Raises:
        InvalidRequest: it is in another format, compressed, or no text.

    Source: cloud-init's documentation, "User data formats".
    """
    if data.startswith(_GZIP):
        raise InvalidRequest("cannot read the user data", f"it is compressed with gzip; {_SUPPORTED}")
    try:
        text = data.decode("utf-8-sig").lstrip()
    except UnicodeDecodeError as error:
        raise InvalidRequest("cannot read the user data", f"it is no UTF-8 text; {_SUPPORTED}") from error
    if not text:
        return None
    first = text.partition("\n")[0].rstrip()
    if first == "#cloud-config":
        return text
    lower = first.lower()
    kind = next((kind for start, kind in _OTHER_FORMATS.items() if lower.startswith(start)), "of an unknown format")
    raise InvalidRequest("cannot read the user data", f"it is {kind}; {_SUPPORTED}")
