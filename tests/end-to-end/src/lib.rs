//! Nothing but a place for the tests beside it: what an outsider sees of the whole system.
