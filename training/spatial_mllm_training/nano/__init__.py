"""The small model that ships in models/nano: its sizes, its tokenizer, and how it is made from nothing."""
