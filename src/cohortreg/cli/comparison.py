"""Commands for evaluating, tables, figures, the report."""
