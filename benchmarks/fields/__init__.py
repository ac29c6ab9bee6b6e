"""What captions say, field by field: against their decisions, and what reading them costs."""
