"""People: finding them, their joints and faces, and files of those."""
