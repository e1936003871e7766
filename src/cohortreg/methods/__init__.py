"""One file for each registration method, behind one interface; `registry.py` names them."""
