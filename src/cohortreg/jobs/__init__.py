"""What each rule of the workflow does, one file a rule."""
