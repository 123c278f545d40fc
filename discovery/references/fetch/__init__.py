"""Fetching reference collections from their official addresses; the only part that needs a network.

Every source ends as tables in the layout of the data folder, beside a card that says where each
came from. Until a table is whole it has another name.
"""
