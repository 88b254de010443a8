"""A laboratory for one question: what does a network learn when the data says nothing?"""
