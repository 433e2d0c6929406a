"""A plan as one HTML file that needs nothing else: no request, no script to be read, light and dark, on paper too."""

from reconciler.views.html.plan import plan_html

__all__ = ["plan_html"]
