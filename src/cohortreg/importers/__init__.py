"""Other people's folders as tables of a cohort."""
