//! Model folders in, checked bundles out.
