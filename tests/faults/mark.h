/* How a program that dart_fault_alloc is loaded into tells dart_fault_syscalls that main starts: a
 * prctl that the kernel knows nothing of. */
#ifndef DART_FAULT_MARK
#define DART_FAULT_MARK 0x64617274
#endif
