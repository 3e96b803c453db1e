"""What is learnt from: `corpora`, tables of utterances, and `features` of these."""
