"""Where code is reviewed: GitHub, GitLab, Gitea or Forgejo, Bitbucket. One sticky comment or issue a fleet, found again by its marker."""

from reconciler.forge.place import Forge, ForgeError, ForgePlace, find_place
from reconciler.forge.sticky import CommentOutcome, keep_comment, keep_issue

__all__ = ["CommentOutcome", "Forge", "ForgeError", "ForgePlace", "find_place", "keep_comment", "keep_issue"]
