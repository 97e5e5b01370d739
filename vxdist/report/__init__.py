"""The report: one HTML page that shows what a store holds, and draws no conclusion of its own."""
