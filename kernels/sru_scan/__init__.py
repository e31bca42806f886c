"""The recurrence of the simple recurrent unit."""
