"""What is drawn for each request: when it comes, from whom, and its fate on either arm."""
