"""The takeout: all data of a user as one ZIP, exported and imported."""
