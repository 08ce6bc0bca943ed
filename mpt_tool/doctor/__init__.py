"""What is right and what is wrong with a project and what is around it, subject by subject."""
