"""What a strategy's monitoring looks like to a person: its history, figures and HTML report."""
