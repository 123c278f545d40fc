"""The pages; a new one is a module with a constant ``PAGE``, named here."""

from discovery.dashboard.pages import campaigns

PAGES = (campaigns.PAGE,)
