"""The agent that questions a verified hit: is it a minimum, is it stable, what is its gap worth?"""
