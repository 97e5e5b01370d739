"""What is concluded: intervals, matched controls, verdicts. Free of torch."""
