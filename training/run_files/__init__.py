"""The files of a run as its workers use them: one folder for all, or a copy on every node.

On one machine, and on a shared file system, every worker opens the folder of the run itself. On
machines with separate disks every node has a copy of the part that its workers need, and files are
copied before they are read and after they were written. The folder on the driver's node stays the
only complete one, so a lost node takes nothing with it but the steps since the last checkpoint.
"""
