"""A plan as one HTML file that needs nothing else: no request, no script to be read, light and dark, on paper too."""

from reconciler.views.html.plan import drift_section, plan_html, plan_sections

__all__ = ["drift_section", "plan_html", "plan_sections"]
