"""From the broker into the journal: receive, judge, commit in groups, acknowledge."""
