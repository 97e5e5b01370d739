"""The sections of the page, each a .py that reads and a .html.j2 that shows, side by side.

To add one, write both files and a line in the table: a function from the content of the page to a
`Section` (or None), whose template, ID.html.j2, is given it as `section` and its view as `view`.
"""

SECTIONS = {
    "run": "vxdist.report.sections.run:make_section",
    "claims": "vxdist.report.sections.claims:make_section",
    "selection": "vxdist.report.sections.selection:make_section",
    "effects": "vxdist.report.sections.effects:make_section",
    "answers": "vxdist.report.sections.answers:make_section",
    "top": "vxdist.report.sections.top:make_section",
    "caveats": "vxdist.report.sections.caveats:make_section",
}
"""Sections in the order of the page, by the ids that links lead to. One that has nothing to show,
None, is left out."""

SELECTOR_NOTES = {
    "vape": "vxdist.report.sections.vape:make_notes",
}
"""What selectors say for themselves: functions from the content to `notes.SelectorNotes`."""

OUTCOME_NOTES = {
    "choice": "vxdist.report.sections.choice:make_notes",
}
"""What outcomes say for themselves: functions from the content to `notes.OutcomeNotes`. They are
called if there is an evaluation."""
