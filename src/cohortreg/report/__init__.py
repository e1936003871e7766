"""Tables for reading, figures and pages."""
