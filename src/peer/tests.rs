//! Two and three daemons' links in one process, over loopback addresses of their own.
