"""Pictures for people to look at: contact sheets, grids, flows, attention."""
