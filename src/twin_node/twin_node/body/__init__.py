"""The machine as a mechanism: its model, a body that follows the planned motion, and what that body should feel."""
