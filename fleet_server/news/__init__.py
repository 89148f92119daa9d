"""The change log for programs: a page of it, or a live feed."""
