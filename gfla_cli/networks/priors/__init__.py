"""What is known of a flow before anything is learned."""
