"""Signed approvals: who approved which package, under which limits, and what loading verifies of it.

An approval is a statement in the in-toto format, signed in a DSSE envelope (:mod:`.statement`). The statements of a model form
a chain (:mod:`.chain`) that MLflow and the in-house store keep (:mod:`.store`). :mod:`.current` decides which version
may be used now; :mod:`.verify` shows an auditor each step of that decision.
"""
