"""What the commands do, apart from their options: requests in, results and tables out."""
