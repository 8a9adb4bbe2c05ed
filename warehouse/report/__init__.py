"""The report: a static site over the current snapshot that opens from disk, in Russian and in English.

Every number comes from a published mart, and every page names the snapshot. Charts are Vega-Lite specifications made
with Altair; their scripts lie beside the pages, so neither a network nor a server is needed.
"""

from warehouse.report.site import write_report

__all__ = ["write_report"]
