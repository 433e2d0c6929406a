"""Files of other tools to an inventory and a desired state. One module a format; text in, text out, and what could not be carried over."""

from __future__ import annotations

from reconciler.conversion.formats import FORMATS, convert
from reconciler.conversion.found import Converted, NotCarried

__all__ = ["FORMATS", "Converted", "NotCarried", "convert"]
