"""Commands for importing, making, preprocessing a cohort."""
