"""Exemptions: spans in which a position is under approved maintenance or excused, with their reasons and authors."""
