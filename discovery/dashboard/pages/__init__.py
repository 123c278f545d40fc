"""The pages; a new one is a module with a constant ``PAGE``, named here."""

from discovery.dashboard.pages import campaign, campaigns, candidates

PAGES = (campaigns.PAGE, campaign.PAGE, candidates.PAGE)
