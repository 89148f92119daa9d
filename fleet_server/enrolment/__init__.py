"""Enrolment: claim codes, who may have a certificate, and which certificates there are."""
