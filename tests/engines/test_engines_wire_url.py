"""Where a server is, by its url: what is sent to it and shown of it."""

from __future__ import annotations

import pytest

from reconciler.engines.wire import server_url


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://gpu-a:11434", "http://gpu-a:11434"),
        ("HTTP://GPU-A/", "http://gpu-a/"),
        ("https://h/base/path/", "https://h/base/path/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://user:word@h:1/p?key=1#f", "http://h:1/p"),
        ("http://münchen.example:80", "http://xn--mnchen-3ya.example:80"),
    ],
)
def test_a_url_is_a_scheme_a_host_in_ascii_a_port_and_a_path(text: str, shown: str) -> None:
    assert server_url(text).geturl() == shown


@pytest.mark.parametrize(
    "text", ["", "gpu-a:11434", "ftp://h", "http://", "http://h:99999", "http://h:x", "http://[::1", "http://☃.\u2028/"]
)
def test_another_text_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        server_url(text)
