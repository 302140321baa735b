from .dispatch import local_ncc as local_ncc
