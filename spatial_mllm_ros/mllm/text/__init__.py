"""Text that goes in and comes out: tokens, prompts, and answers read strictly."""
