"""Recordings as LeRobot data sets (v3.0): states, actions, videos and rewards at one rate."""
