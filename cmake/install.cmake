# What `cmake --install` puts where: the library's public header, the CMake package that gives
# lcc_add_model(), the pkg-config file, the Python package, the manual page, completions for shells.
include(CMakePackageConfigHelpers)

if(EXISTS ${PROJECT_SOURCE_DIR}/driver/lepton.h)
  install(FILES ${PROJECT_SOURCE_DIR}/driver/lepton.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endif()
install(TARGETS lepton ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/lcc)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/lccConfig.cmake.in
  ${GENERATED}/lccConfig.cmake INSTALL_DESTINATION ${package}
  PATH_VARS CMAKE_INSTALL_BINDIR CMAKE_INSTALL_DATADIR)
write_basic_package_version_file(${GENERATED}/lccConfigVersion.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${GENERATED}/lccConfig.cmake ${GENERATED}/lccConfigVersion.cmake
  ${PROJECT_SOURCE_DIR}/cmake/lcc_add_model.cmake
  DESTINATION ${package})

set(LEPTON_PC_LIBS "-lprotobuf-c -lm -lpthread -ldl")
if(LCC_TCC AND TCC_INCLUDE AND TCC_LIBRARY AND NOT TCC_LIBRARY MATCHES "\\.a$") # a static one is inside
  set(LEPTON_PC_LIBS "-ltcc ${LEPTON_PC_LIBS}")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/lepton.pc.in ${GENERATED}/lepton.pc @ONLY)
install(FILES ${GENERATED}/lepton.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(EXISTS ${PROJECT_SOURCE_DIR}/python/lepton)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/python/lepton
    DESTINATION ${CMAKE_INSTALL_DATADIR}/lcc/python
    FILES_MATCHING PATTERN "*.py" PATTERN "*.txt" PATTERN "__pycache__" EXCLUDE)
endif()
if(TARGET lcc AND NOT CMAKE_CROSSCOMPILING)
  set(manual ${GENERATED}/lcc)
  install(FILES ${manual}.man DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 RENAME lcc.1)
  install(FILES ${manual}.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME lcc)
  install(FILES ${manual}.zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions RENAME _lcc)
  install(FILES ${manual}.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d RENAME lcc.fish)
endif()
install(FILES LICENSE NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)
