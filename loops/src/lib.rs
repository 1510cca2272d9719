//! Event-loop adapters of evtchn
