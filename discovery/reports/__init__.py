"""What a campaign has done, for a person: the funnels, the state, the live view."""
