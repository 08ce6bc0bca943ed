"""The migrations folder: what is in it, what a script's text tells, and the plan that follows."""
